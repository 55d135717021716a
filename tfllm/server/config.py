"""The settings of a server beyond what and where it serves, under the names of TensorFlow Serving's flags."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServerConfig:
    """How a server runs. Each field is also a flag of `tfllm serve`.

    Attributes:
        grpc_max_threads: how many gRPC requests are worked on at once, further ones wait; 0 for 4 a core, and
            for 64 with batching, where most of them wait for their batch.
        grpc_message_seconds: how long the message of a gRPC call may take to come; then the call is cancelled, so that
            callers who send none do not keep threads from others. More for large messages on slow lines, 0 for as long
            as they like.
        grpc_socket_path: a Unix socket to listen on beside the port; a socket file that is there is replaced.
        grpc_channel_arguments: further settings of the gRPC server, as `key=value` with commas between them.
        enable_grpc_healthcheck_service: whether health checks also know the names ModelService and PredictionService,
            as the whole server; the names of models they know always.
        enable_profiler: whether callers on this machine, or administrators with a token, may take profiles
            (TensorFlow's ProfilerService).
        profile_dir: the folder below which a profile is written where its request says, as TensorFlow's and
            TensorBoard's clients expect; without it profiles are only handed to the caller.
        enable_serialization_as_tensor_content: whether numbers in gRPC answers to Predict are raw bytes.
        rest_api_num_threads: how many REST requests are worked on at once, further ones wait; 0 for 4 a core.
        rest_api_timeout_in_ms: how long a REST request may take before it is answered with status 504.
        rest_api_enable_cors_support: whether pages of other origins may read REST answers.
        file_system_poll_wait_seconds: the time between two looks for new versions; 0 looks only at the start.
        model_config_file_poll_wait_seconds: the time between two looks at the model config file; 0 reads it once.
        allow_version_labels_for_unavailable_models: whether a new label may name a version that is not loaded yet,
            which a config file with labels needs at the start.
        enable_batching: whether requests of several callers are run together.
        batching_parameters_file: how, as a text proto of TensorFlow Serving's BatchingParameters.
        enable_per_model_batching_parameters: whether a version may bring its own, as `batching_params.pbtxt` in its
            folder.
        batch_token_budget: the most tokens of a batch, padding included, with texts of like lengths together; 0 for
            batches by rows alone.
        enable_model_warmup: whether the requests that came with a version are run before it answers.
        num_request_iterations_for_warmup: how often each of them is run; 0 for once.
        monitoring_config_file: where metrics are served, as a text proto of TensorFlow Serving's MonitoringConfig;
            none without it.
        request_log_dir: a folder for a sample of the requests, as files that can warm up a version; none without it.
        request_log_sample: the share of requests that are recorded there, from 0 to 1.
        request_log_mask: whether personal data is masked there: addresses, accounts and long numbers in texts.
        trace_endpoint: where OpenTelemetry traces are sent, such as `http://localhost:4317`; nowhere without it.
        trace_sample: the share of traces that are kept, from 0 to 1; a caller that has decided already is followed.
        ssl_config_file: certificates for gRPC and REST, as a text proto of TensorFlow Serving's SSLConfig; read again
            when it changes, as the other files of this kind.
        tls_certificate_file: the server's certificate as a PEM file, instead of ssl_config_file.
        tls_key_file: the private key of tls_certificate_file.
        tls_client_ca_file: who may sign the certificates of clients, which then need one (mTLS).
        auth_token_file: a TOML file with the callers: the hash of each one's token, its models, whether it may reload.
        auth_jwks_file: a JWKS file with the keys that signed tokens (JWT) are checked with.
        auth_jwt_audience: the audience that a signed token must name.
        auth_jwt_issuer: the issuer that a signed token must name.
        rate_limit_per_caller: how many requests a second one caller may send; 0 for any number.
        max_request_bytes: the size of the largest request; REST bodies under way together may have four times as many.
        max_waiting_requests: how many requests may wait for a worker, of gRPC and of REST each; further ones are
            refused at once. 0 for none: so many requests as there are workers, and no more.
        max_requests_per_model: how many requests may be under way on one model; 0 for any number.
        audit_log_file: a file for a line about each call, who and which model but never what; - for standard error.
        shutdown_seconds: how long requests under way may still take when the server is stopped.
        prefer_tflite_model: whether a version's `model.tflite`, if it has one, is served and not its SavedModel.
        saved_model_tags: the tags of the graph to load, with commas between them.
        tensorflow_session_parallelism: both of the following at once, instead of them; 0 for these.
        tensorflow_inter_op_parallelism: how many requests run at once without batching, for all models together, and
            from 2 on how many TensorFlow operators; 0 for one request a core, below 0 for any number.
        tensorflow_intra_op_parallelism: how many threads an operator uses; 0 for one a core.
    """

    grpc_max_threads: int = 0
    grpc_message_seconds: float = 20.0
    grpc_socket_path: str = ""
    grpc_channel_arguments: str = ""
    enable_grpc_healthcheck_service: bool = False
    enable_profiler: bool = True
    profile_dir: str = ""
    enable_serialization_as_tensor_content: bool = False
    rest_api_num_threads: int = 0
    rest_api_timeout_in_ms: int = 30_000
    rest_api_enable_cors_support: bool = False
    file_system_poll_wait_seconds: float = 1.0
    model_config_file_poll_wait_seconds: float = 0.0
    allow_version_labels_for_unavailable_models: bool = False
    enable_batching: bool = False
    batching_parameters_file: str = ""
    enable_per_model_batching_parameters: bool = False
    batch_token_budget: int = 0
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 0
    monitoring_config_file: str = ""
    request_log_dir: str = ""
    request_log_sample: float = 0.01
    request_log_mask: bool = True
    trace_endpoint: str = ""
    trace_sample: float = 1.0
    ssl_config_file: str = ""
    tls_certificate_file: str = ""
    tls_key_file: str = ""
    tls_client_ca_file: str = ""
    auth_token_file: str = ""
    auth_jwks_file: str = ""
    auth_jwt_audience: str = ""
    auth_jwt_issuer: str = ""
    rate_limit_per_caller: float = 0.0
    max_request_bytes: int = 268_435_456
    max_waiting_requests: int = 1000
    max_requests_per_model: int = 0
    audit_log_file: str = ""
    shutdown_seconds: float = 10.0
    prefer_tflite_model: bool = False
    saved_model_tags: str = "serve"
    tensorflow_session_parallelism: int = 0
    tensorflow_inter_op_parallelism: int = 0
    tensorflow_intra_op_parallelism: int = 0
