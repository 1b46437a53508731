"""CrowdBackdoorBench: backdoor attacks and defenses on deep crowd counters, measured per image."""

__version__ = "0.1.0"
