"""Controls: the names of the defenses that every other defense is compared with."""

CONTROLS = ("retrain", "continue_poisoned")  # what a defense must beat, besides `none`
SHARED = ("none", *CONTROLS)  # what an entry holds besides its own defense
