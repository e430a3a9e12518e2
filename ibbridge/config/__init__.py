"""The operator's settings: their types, defaults, checks and reasons, and the YAML file that holds them.

The package knows the values that each setting may have, and which settings change while the daemon runs.
The package must not know the parts that obey a setting.
"""
