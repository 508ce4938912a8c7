"""What runs on the person's machine, under Invoke: small modules behind the short tasks of tasks.py."""
