// All tests of the console in one Chromium. services/spotter/tests/it/system/console.rs starts what they need.

import "./detect.mjs";
import "./keys.mjs";
import "./accessibility.mjs";
import "./tasks.mjs";
import "./operations.mjs";
