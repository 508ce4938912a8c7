"""The rules: from an observation to findings and a plan. Pure: nothing here looks at the world or changes it."""
