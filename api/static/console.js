// What makes the pages quicker to use. Each works without it.
"use strict";
