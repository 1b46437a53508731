"""The export of a cell: its poisoned and triggered images, and its victim, for other programs.

`content` collects what is written, `images` writes the images in the forms of two datasets,
`victim` the counter in two files, `readme` says what everything is, and `folder` puts it together.
"""
