#!/bin/sh
# An MLflow server for a group: PostgreSQL keeps the runs, a folder or bucket the figures. One process, no containers.
#
#   apt-get install postgresql && pip install psycopg2-binary          once
#   sudo -u postgres createuser harness --pwprompt && sudo -u postgres createdb harness --owner harness
#   MLFLOW_DATABASE=postgresql://harness:PASSWORD@127.0.0.1/harness clusters/mlflow/serve.sh
#
# Then, where studies run or results are read:
#
#   export MLFLOW_TRACKING_URI=http://127.0.0.1:5000                   through `ssh -N -L 5000:127.0.0.1:5000 server`
#   harness sync my_study --root s3://my-bucket/runs
#
# MLflow is a view: a lost database is filled again by `harness sync`, so nothing here needs a backup.
# It asks nobody for a password. So it listens on loopback; people come through ssh, or a proxy that knows them.
#
# Environment: MLFLOW_DATABASE (needed), MLFLOW_ARTIFACTS (a folder or s3://; default ~/mlflow-artifacts), MLFLOW_PORT.
set -eu

: "${MLFLOW_DATABASE:?is not set; it is postgresql://USER:PASSWORD@HOST/DATABASE}"
environment=$(dirname "$0")/../../.venv/bin
if [ -x "$environment/mlflow" ]; then
    PATH=$(cd "$environment" && pwd):$PATH
fi
export MLFLOW_DISABLE_TELEMETRY=true
# The database is named in the environment: command lines are seen by everyone on the machine.
export MLFLOW_BACKEND_STORE_URI="$MLFLOW_DATABASE"
exec mlflow server --artifacts-destination "${MLFLOW_ARTIFACTS:-$HOME/mlflow-artifacts}" \
    --host 127.0.0.1 --port "${MLFLOW_PORT:-5000}" --workers 2
