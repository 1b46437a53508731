"""The zoo: finished stages that are shared, so that nobody has to train the same victims again.

A zoo is a folder, also one on a web server or at Hugging Face: an index, and for each stage the
files that the store holds. `push` fills it from a store, `pull` takes stages from it into a store,
and `index` says what may be in it. A stranger's zoo is data: its sizes are bounded, its hashes are
compared, and nothing in it is executed.
"""
