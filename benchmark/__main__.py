"""`python -m benchmark` is `crowdbench`."""

import sys

from benchmark.cli import main

sys.exit(main())
