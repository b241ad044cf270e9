"""All that a change does, as one value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from compiler.diff.classes import request_classes
from compiler.diff.gpus import Gpus, Instances, gpu_counts, instances
from compiler.diff.objects import ObjectChange, object_changes
from compiler.diff.profile import Recorded
from compiler.diff.request_class import Classes
from compiler.diff.settings import Setting, settings
from compiler.diff.steps import Step, steps
from compiler.diff.weighing import Weighed, weighed
from compiler.emit.object import Object
from compiler.fleet import Fleet


@dataclass(frozen=True, slots=True)
class Changes:
    classes: Classes
    settings: tuple[Setting, ...]
    instances_before: tuple[Instances, ...]
    instances_after: tuple[Instances, ...]
    gpus: tuple[Gpus, ...]
    objects: tuple[ObjectChange, ...]
    steps: tuple[Step, ...]
    weighed: Weighed | None
    """By a profile, where there is one."""

    @property
    def any(self) -> bool:
        return bool(self.classes.found or self.classes.left_out or self.settings or self.objects)


@dataclass(frozen=True, slots=True)
class Side:
    fleet: Fleet
    objects: tuple[Object, ...]


def changes(before: Side, after: Side, profile: Iterable[Recorded] | None = None) -> Changes:
    one, other = before.fleet, after.fleet
    classes, objects = request_classes(one, other), object_changes(before.objects, after.objects)
    changed = settings(one, other)
    return Changes(
        classes=classes,
        settings=changed,
        instances_before=tuple(of for model in one.models for of in instances(model)),
        instances_after=tuple(of for model in other.models for of in instances(model)),
        gpus=gpu_counts(one, other),
        objects=objects,
        steps=steps(one, other, classes.found, objects, changed),
        weighed=None if profile is None else weighed(one, other, profile, classes.found),
    )
