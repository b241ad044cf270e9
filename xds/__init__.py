# The package `xds-protos` installs a top-level `xds` too, and its `envoy` modules import `xds.core`, `xds.type` and so
# on from it. Extending the path lets both live under one name; therefore no module of ours may be called
# annotations, core, data, service or type, and nothing else may stand in this file (tests/test_packaging.py).
from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
