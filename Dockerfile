# Two images:
#   docker build --target=serve  --tag=imcap-serve .    answers TensorFlow Serving's REST API
#   docker build --target=worker --tag=imcap-worker .   a Beam SDK worker (Flink, Spark, Dataflow)

FROM python:3.11-slim AS wheel
WORKDIR /build
COPY setup.py pyproject.toml README.md LICENSE ./
COPY imcap imcap
COPY beam_jobs beam_jobs
COPY configs configs
RUN pip wheel --no-deps --wheel-dir /dist .

FROM python:3.11-slim AS serve
COPY constraints.txt /constraints.txt
COPY --from=wheel /dist /dist
RUN pip install --no-cache-dir --constraint /constraints.txt /dist/*.whl && rm -r /dist
RUN useradd --create-home imcap
USER imcap
EXPOSE 8501
# The exported model is mounted at /model: docker run -p 8501:8501 -v $PWD/runs/flickr8k/export:/model imcap-serve
ENTRYPOINT ["imcap", "serve", "--host=0.0.0.0", "--port=8501"]
CMD ["--model=captioner=/model"]

# The base image's entry point, /opt/apache/beam/boot, starts the worker.
FROM apache/beam_python3.11_sdk:2.77.0 AS worker
COPY constraints.txt /constraints.txt
COPY --from=wheel /dist /dist
RUN pip install --no-cache-dir --constraint /constraints.txt /dist/*.whl 'apache-beam[gcp]==2.77.0' && rm -r /dist
