"""The ground that all rooms stand on: the tree, errors, output, commands, files and locks; no rule of the product."""
