# The control server: docker build -t registry.example.com/turnout:0.1.0 .
# As Platform.controlServer.image; what it runs with in a cluster stands in rendered/platform/control-server.yaml.
FROM python:3.11-slim

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONPATH=/turnout
WORKDIR /turnout
COPY requirements.lock ./
RUN pip install --require-hashes -r requirements.lock
COPY compiler compiler
COPY xds xds
# By number, so that Kubernetes can see that it is not root.
USER 65533:65533
ENTRYPOINT ["python", "-m", "xds.cli"]
CMD ["serve", "/policies/current/policies", "--listen=0.0.0.0:18000", "--admin=0.0.0.0:18001"]
