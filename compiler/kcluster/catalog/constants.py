"""The fitted constants of the models behind the figures, one module a model."""

from kcluster.catalog.memory_constants import memory_constants as memory_constants
from kcluster.catalog.time_constants import time_constants as time_constants
