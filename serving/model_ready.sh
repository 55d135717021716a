#!/usr/bin/env bash
# Ends with 0 once every model can answer: a health check and a readiness probe for TensorFlow Serving, whose own health
# service says SERVING before any model is loaded. It needs bash alone, which the official image has.
#
#   model_ready.sh                  all models of /config/models.config, or $MODEL_NAME where there is no such file
#   model_ready.sh reviews topics   these models
#   model_ready.sh --alive          does the process answer at all? (liveness: a model that fails to load is no reason
#                                   to kill a server that answers for others)
#
# $REST_PORT is the REST port (8501), $MODEL_CONFIG_FILE the list of models.
set -euo pipefail

port="${REST_PORT:-8501}"
list="${MODEL_CONFIG_FILE:-/config/models.config}"

ask() { # prints the answer to GET $1: headers and body
  exec 3<>"/dev/tcp/127.0.0.1/${port}"
  printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$1" >&3
  timeout 5 cat <&3
  exec 3>&-
}

if [[ "${1:-}" == --alive ]]; then
  [[ "$(ask /v1/models)" == HTTP/* ]]
  exit
fi

if (($#)); then
  models=("$@")
elif [[ -f "${list}" ]]; then
  mapfile -t models < <(sed -nE 's/^[^#]*\bname: *"([^"]+)".*/\1/p' "${list}")
else
  models=("${MODEL_NAME:-model}")
fi

if ((${#models[@]} == 0)); then
  echo "no models in ${list}" >&2
  exit 1
fi

for model in "${models[@]}"; do
  if [[ "$(ask "/v1/models/${model}")" != *'"AVAILABLE"'* ]]; then
    echo "model ${model} is not available" >&2
    exit 1
  fi
done
