"""The conformance suite: what every backend must do, as tests that its author runs.

The idea: one class whose tests say, one by one, what `sadik_storage.trait` promises. A backend's
author subclasses it and names the backend, in a test module of their own:

```python
from my_package import MyStore
from sadik_storage.conformance import StoreConformance


class TestMyStore(StoreConformance):
    backend = MyStore
    options = {"cache_bytes": 2**20}
```

Each part is a class of its own, after its concept, and can be run alone while a backend is being
written, in about this order: `Description`, `Batches`, `Values`, `Ordering`, `Isolation`,
`Figures`, `Durability`, `Failures`, and `Model`, which holds any order of calls against a
dictionary.

It needs pytest and hypothesis (the extra `conformance`) and no plug-in, takes some seconds and
leaves nothing behind. The tests of durability kill a real child process. Those of full and
read-only disks mount one, in a namespace of a child's own, and are skipped where that is not
permitted. What no test here can show is that a commit survives a power cut: see what your backend
does with fsync under `strace`.
"""

from sadik_storage.conformance.base import Suite
from sadik_storage.conformance.batches import Batches
from sadik_storage.conformance.description import Description
from sadik_storage.conformance.durability import Durability
from sadik_storage.conformance.failures import Failures
from sadik_storage.conformance.figures import Figures
from sadik_storage.conformance.isolation import Isolation
from sadik_storage.conformance.model import Model
from sadik_storage.conformance.ordering import Ordering
from sadik_storage.conformance.values import Values

__all__ = [
    "Batches",
    "Description",
    "Durability",
    "Failures",
    "Figures",
    "Isolation",
    "Model",
    "Ordering",
    "StoreConformance",
    "Suite",
    "Values",
]


class StoreConformance(
    Description,
    Batches,
    Values,
    Ordering,
    Isolation,
    Figures,
    Durability,
    Failures,
    Model,
):
    """All of it. Subclass it in a test module and set `backend`; the name must begin with `Test`.

    What else can be set, `sadik_storage.conformance.base.Suite` says.
    """
