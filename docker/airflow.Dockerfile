# Airflow with airtune's DAGs and plugin, and everything the local backend needs to train on the worker.
#
#   docker build -f docker/airflow.Dockerfile -t airtune-airflow .
FROM apache/airflow:3.3.2-python3.12
WORKDIR /opt/airtune
COPY --chown=airflow:root requirements.txt requirements-build.txt pyproject.toml README.md LICENSE ./
# psycopg2 and asyncpg, which PostgreSQL needs, come with the official image.
RUN uv pip install --no-cache --require-hashes --compile-bytecode -r requirements.txt -r requirements-build.txt
COPY --chown=airflow:root src src
COPY --chown=airflow:root include include
COPY --chown=airflow:root dags dags
COPY --chown=airflow:root plugins plugins
RUN uv pip install --no-cache --no-deps --no-build-isolation --compile-bytecode .
ENV AIRFLOW__CORE__DAGS_FOLDER=/opt/airtune/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/airtune/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    AIRTUNE_HOME=/var/airtune \
    GX_ANALYTICS_ENABLED=false
USER root
RUN mkdir /var/airtune && chown airflow:root /var/airtune
USER airflow
