"""`python -m lowrung` is the command line."""

import sys

from lowrung.cli import main

sys.exit(main())
