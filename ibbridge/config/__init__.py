"""The operator's settings: their types, defaults, checks and reasons, and the YAML file that holds them.

The package says what each setting may be, and which settings change while the daemon runs.
It must not know the parts that obey a setting.
"""
