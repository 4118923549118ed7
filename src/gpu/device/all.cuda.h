/* <cuda.h>: what device code uses of it is built in. */
#pragma once
