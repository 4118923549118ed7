#!/bin/sh
# run.sh BUILD: see run.lua.
exec luajit bench/run.lua "$1"
