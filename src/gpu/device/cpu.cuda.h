/* CUDA C++ as plain C++ for the cpu backend. Included in front of preprocessed user code. */
#pragma once
#pragma GCC system_header
#include "cpu.types.h"
#include "cpu.vector.h"
#include "cpu.state.h"
#include "cpu.bits.h"
#include "cpu.math.h"
#include "cpu.round.h"
#include "cpu.atomic.h"
#include "cpu.warp.h"
#include "cpu.wrap.h"
#include "cpu.loops.h"
