return require("gb").grain("Twice")
