"""`python -m socratic_distill`."""

import sys

from socratic_distill.cli import main

sys.exit(main())
