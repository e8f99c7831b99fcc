"""Every Invoke task, one a verb: what a repository's own tasks.py takes over.

The tasks are in commands/, what they share, exit codes above all, in task_frame.py.
"""

from __future__ import annotations

from invoke import Collection

from pipeline.commands import building, helping, keeping, measuring, own_data, releasing, reporting, tracking


def _collection() -> Collection:
    collection = Collection(
        *(building.train, building.prune, building.quantize, building.convert, building.build, building.ci),
        *(measuring.bench, measuring.compare, measuring.sensitivity, measuring.predict, measuring.inspect),
        *(own_data.check, own_data.new, own_data.data),
        *(releasing.release, releasing.verify_release, releasing.fetch),
        *(reporting.report, tracking.track),
        *(keeping.targets, keeping.history, keeping.diff, keeping.clean),
        helping.doctor,
    )
    collection.add_task(helping.start, default=True)
    store = Collection("store")
    store.add_task(keeping.store_list, name="list", default=True)
    store.add_task(keeping.store_verify, name="verify")
    store.add_task(keeping.store_gc, name="gc")
    collection.add_collection(store)
    return collection


namespace = _collection()
