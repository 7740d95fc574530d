"""Runs a local AWS: LocalStack, with the features that this stack needs in addition. It ends when its standard input closes.

LocalStack provides CloudFormation with the SAM transform, API Gateway with API keys, S3 with conditional writes, and the rest.
`processes` adds Lambda functions that run without Docker. `gateway` adds API Gateway's handling of requests and errors.
`retention` adds CloudFormation's deletion policies. `notifications` adds updates of a bucket's notifications.
`apis` adds updates of an API.

CLOUD_DIR is the folder for the state, and GATEWAY_LISTEN the address to listen on.
"""

import os
import signal
import sys
import threading
import time

import apis
import gateway
import notifications
import processes
import retention
from localstack.runtime import main


def end_with_the_caller():
    """Ends this process when its parent ends, for any reason."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)
    # LocalStack can hang while it shuts down, and its state is no longer needed.
    time.sleep(3)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with_the_caller, daemon=True).start()
    processes.install()
    gateway.install()
    apis.install()
    notifications.install()
    retention.install()
    main.main()
