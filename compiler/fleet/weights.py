"""How much memory a model's weights take: as files where they are kept, and on GPUs."""

from __future__ import annotations

from compiler.fleet.model import Engine, Framework, Quantization
from compiler.fleet.pool import ShmCache

GIB = 2**30
FILLER_CPU = 1000
"""Thousandths of a core that who copies the weights asks for."""
_FILLER_MEMORY = 2 * GIB

_HALF_A_BYTE = frozenset({Quantization.AWQ, Quantization.GPTQ, Quantization.INT4})


def weights_on_disk(engine: Engine) -> int | None:
    """Bytes, where the number of parameters is known.

    What the engine quantizes while it loads is 16 bits in its file: fp8 everywhere, int8 with TGI.
    """
    if engine.parameters is None:
        return None
    if engine.quantization in _HALF_A_BYTE:
        return engine.parameters // 2
    if engine.quantization is Quantization.INT8 and engine.framework is not Framework.TGI:
        return engine.parameters
    return engine.parameters * bytes_of(engine.dtype)


def least_weights_on_gpus(engine: Engine) -> int | None:
    """Bytes of all GPUs of an instance together, where the number of parameters is known."""
    count = engine.least_parameters
    if count is None:
        return None
    if engine.quantization is Quantization.NONE:
        return count * bytes_of(engine.dtype)
    return count // 2 if engine.quantization in _HALF_A_BYTE else count


def bytes_of(dtype: str) -> int:
    """Of one number; `auto` is a checkpoint's own, and those have 16 bits."""
    return 4 if dtype == "float32" else 2


def kept_memory(engine: Engine, cache: ShmCache) -> int:
    """Bytes of a node's memory that keeping the weights takes, who copies them included; of the whole cache where
    their size is not known. Where that is not known either, it is an error (P411)."""
    size = weights_on_disk(engine)
    return ((cache.size or 0) if size is None else -(-size // GIB) * GIB) + _FILLER_MEMORY


def copied_size(engine: Engine) -> int:
    """Bytes of a node's disk to ask for where the weights are copied to it, in whole GiB; 0 if not known.

    A tenth more than the weights: names round their size, and other files lie beside them.
    """
    return -(-(weights_on_disk(engine) or 0) * 11 // (10 * GIB)) * GIB


def asleep_memory(engine: Engine) -> int:
    """Bytes of a container's memory that the weights take while the instance sleeps, in whole GiB; 0 if not known."""
    return -(-(weights_on_disk(engine) or 0) // GIB) * GIB
