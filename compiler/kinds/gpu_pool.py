"""GPUPool: nodes with GPUs, how instances are put on them, and what they share there."""

from typing import Annotated, Literal

from pydantic import Field

from compiler.kinds.measures import Bytes, Cores
from compiler.kinds.part import Document, Part
from compiler.kinds.values import LabelValue, MetadataKey, Name, Shape, Text

FolderPath = Annotated[
    str, Shape(r"^(/(?!\.\.?(/|\Z))[-A-Za-z0-9_.]+)+\Z", "no folder: an absolute path, not /", "/dev/shm/model_cache")
]


class NodeSpec(Part):
    """A node, or several alike."""

    name: Name
    """The node's `kubernetes.io/hostname`. With `count` from 2 they are `<name>-0`, `<name>-1` and so on."""
    zone: Name
    """Its `topology.kubernetes.io/zone`."""
    count: Annotated[int, Field(ge=1, le=1000)] = 1
    """How many there are of it."""
    gpu_type: Text = "a100-80g"
    """From the GPU catalogue (Platform.gpuCatalogue adds to it)."""
    gpu_count: Annotated[int, Field(ge=1, le=128)]
    """GPUs of each; under `sharing.mode: mig` its slices."""
    cpu: Cores
    """Cores that pods may have of each."""
    memory: Annotated[Bytes, Field(ge=1)]
    """Memory that pods may have of each."""
    labels: dict[MetadataKey, LabelValue] = Field(default={})
    """Labels by which the nodes are found, instead of by names that change with every new node."""
    spot: bool = False
    """Whether the provider may take it away: only warm and cold standbys are put there."""


class QueueSpec(Part):
    weight: Annotated[int, Field(ge=1, le=65535)] = 1
    """Share of the cluster beside other queues that want more than there is."""
    reclaimable: bool = True
    """Whether queues that are owed resources may take them from this one."""


class SharingSpec(Part):
    mode: Literal["none", "timeSlicing", "mps", "mig", "vgpu"] = "none"
    """none: an instance has its GPUs alone. timeSlicing: turns, without walls in memory. mps: equal parts of memory and
    time. mig: slices cut in hardware. vgpu: Volcano's, parts by a library in the container."""
    overcommit_ratio: Annotated[float, Field(ge=1, le=64)] = 1
    """Instances for each GPU, on average over the pool; each GPU is cut into that many, rounded up."""


class ShmCacheSpec(Part):
    size: Bytes | None = None
    """Of each node's memory at most, for weights of models with `coldStart.preloadToShm`. 0 is none. Default: what
    those weights take."""
    path: FolderPath = "/dev/shm/model_cache"
    """On the node; in its shared memory."""


class GPUPoolSpec(Part):
    nodes: Annotated[tuple[NodeSpec, ...], Field(min_length=1)]
    """What there is. Instances of the pool's models run nowhere else."""
    strategy: Literal["binpack", "spread", "affinity"] = "binpack"
    """binpack: the fullest node first. spread: the emptiest first. affinity: instances of one size together, so that
    what is left of a node stays in one piece for larger ones. All GPUs of an instance are always on one node."""
    queue: QueueSpec | None = None
    """Volcano places the pool's pods and holds them to what its nodes have. Default: none, and no Volcano."""
    sharing: SharingSpec = SharingSpec.model_construct()
    """Whether instances share a GPU."""
    shm_cache: ShmCacheSpec = ShmCacheSpec.model_construct()
    """Weights kept in the nodes' memory, so that an instance starts from there."""


class GPUPool(Document):
    """Nodes with GPUs, and how models' instances are put on them."""

    kind: Literal["GPUPool"]
    spec: GPUPoolSpec
    """Nodes, and rules."""
