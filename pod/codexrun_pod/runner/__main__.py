"""`python3 -m codexrun_pod.runner`."""

import sys

from codexrun_pod.runner.main import main

sys.exit(main())
