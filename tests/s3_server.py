"""An S3 server on a loopback port, for tests: `python s3_server.py PORT`.

One request at a time, so that a conditional write is decided and done in one step, as on S3.
"""

import sys

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

application = DomainDispatcherApplication(create_backend_app)
run_simple("127.0.0.1", int(sys.argv[1]), application, threaded=False)
