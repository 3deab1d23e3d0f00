"""The gateway: pure core, journal, runtime, API and the composition root."""

import os

# Our matrices are small: a second BLAS thread only waits in a loop (8 times the CPU for 400 tags), and the house has
# three named threads. Set here, because numpy reads it once, when it is first imported.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
