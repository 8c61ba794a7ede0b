// All tests with one system. services/spotter/tests/it/project/typescript_client.rs runs them.

import "./retries.js";
import "./events.js";
import "./detect.js";
import "./errors.js";
import "./many.js";
import "./batches.js";
import "./package.js";
