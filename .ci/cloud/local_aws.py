"""Runs a local AWS: LocalStack, with what it lacks for this stack. It ends when its standard input does.

LocalStack provides CloudFormation with the SAM transform, API Gateway with API keys, S3 with conditional writes, and the rest.
`processes` adds Lambda functions that run without Docker, `gateway` adds what API Gateway does to requests and errors,
`retention` adds the deletion policies of CloudFormation.

CLOUD_DIR names the folder for its state, GATEWAY_LISTEN the address to listen on.
"""

import os
import signal
import sys
import threading
import time

import gateway
import processes
import retention
from localstack.runtime import main


def end_with_the_caller():
    """Ends this process with the one that started it, however that one ends."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)
    # LocalStack can hang while it shuts down.
    time.sleep(30)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with_the_caller, daemon=True).start()
    processes.install()
    gateway.install()
    retention.install()
    main.main()
