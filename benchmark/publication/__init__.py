"""Publication: records as a dataset, entries as evaluation results, and how to cite them.

`dataset` writes records as two Parquet files with a Croissant description. `hub_results` writes the
numbers of a leaderboard entry in the form of Hugging Face's evaluation results.
"""
