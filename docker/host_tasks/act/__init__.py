"""The steps of a plan, done. Nothing here decides whether a step is needed, or whether it was enough."""
