"""Runs a local AWS: LocalStack, with what it lacks for this stack.

LocalStack provides CloudFormation with the SAM transform, API Gateway with API keys, S3 with conditional writes, and the rest.
`processes` adds Lambda functions that run without Docker, `gateway` adds what API Gateway does to requests and errors.

CLOUD_DIR names the folder for its state, GATEWAY_LISTEN the address to listen on.
"""

import gateway
import processes
from localstack.runtime import main

if __name__ == "__main__":
    processes.install()
    gateway.install()
    main.main()
