"""The small grid whose counters the tests share."""


def request_for(drawings):
    """The request of a clean counter and a victim. drawings: the folder of the drawn scenes."""
    return {"data": {"name": "synthetic", "train": 12, "test": 4, "height": 64, "width": 96, "people": 25,
                     "root": str(drawings)},
            "model": {"name": "tiny", "width": 8}, "attack": [None, {"target": "multiply"}], "defense": "none",
            "training": {"epochs": 1, "precision": "fp32", "select": "last"}}
