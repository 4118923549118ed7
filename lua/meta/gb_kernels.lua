---@meta
-- Annotations for the Lua language server: arrays, buffers, queues, devices and kernels. Nothing
-- here runs.

---The name of an element type, or a struct of a kernel source (`K.types.Body`).
---@alias gb.Type
---| "float" # 32 bits
---| "double" # 64 bits
---| "int8" | "int16" | "int32"
---| "int64" # elements are read as int64 cdata
---| "uint8" | "uint16" | "uint32"
---| "uint64" # elements are read as uint64 cdata
---| "float2" | "float3" | "float4" | "double2" | "double3" | "double4"
---| "char2" | "char3" | "char4" | "uchar2" | "uchar3" | "uchar4"
---| "short2" | "short3" | "short4" | "ushort2" | "ushort3" | "ushort4"
---| "int2" | "int3" | "int4" | "uint2" | "uint3" | "uint4"
---| "longlong2" | "longlong3" | "longlong4" | "ulonglong2" | "ulonglong3" | "ulonglong4"
---| gb.StructType

---A struct of a kernel source. Called with a table of fields it gives one value.
---@class gb.StructType
---@field name string
---@field size integer bytes
---@overload fun(fields?: table): ffi.cdata*

-- ---- arrays ----

---Elements of one type in host memory, counted from 0 like in C. Reading and writing outside
---raises and names the valid range; so does an index that is no integer, and a value that does not
---fit an integer element.
---
---`x[i]` of vectors and structs is a reference into the array (`x[i].x = 1` writes it); keep the
---array as long as you keep such a reference.
---@class gb.Array
---@field [integer] any
---@operator len: integer
local Array = {}

---A Lua list (from 1) of all elements: numbers, lists of lanes, tables of fields.
---@param options? { number: boolean } number = true: 64-bit elements as Lua numbers
---@return any[]
function Array:totable(options) end

---Sets every element.
---@param value any
---@return gb.Array self
function Array:fill(value) end

---An array on the same memory. What is written through one is read through the other.
---@param offset? integer default 0
---@param count? integer default: up to the end
---@return gb.Array
function Array:view(offset, count) end

---A fresh array with the same elements.
---@param offset? integer
---@param count? integer
---@return gb.Array? array
---@return string? message
---@return string? code "ENOMEM"
function Array:copy(offset, count) end

---Makes it read-only for good, with all its views. A frozen array is passed to other grains without
---a copy.
---@return gb.Array self
function Array:freeze() end

---Lets go of the memory now, not when the collector comes by; views keep it. Later use raises.
---@return true
function Array:free() end

---The raw C pointer to the first element: no checks, and it does not keep the array alive.
---@return ffi.cdata*
function Array:pointer() end

---An element as a Lua number, also one of 64 bits (beyond 2^53 it is rounded).
---@param index integer
---@return number
function Array:number(index) end

---@return gb.Type
function Array:type() end

---A zeroed array of a count, or one with the elements of a list or of another array.
---`kind = "pinned"` gives page-locked memory, which devices copy faster.
---@param type gb.Type
---@param what integer|any[]|gb.Array
---@param options? { kind: "pageable"|"pinned" }
---@return gb.Array? array
---@return string? message
---@return string? code "ENOMEM"
function gb.array(type, what, options) end

---Marks an array or a buffer among arguments or results: it is handed over, and the sender's handle
---is dead once it has been sent. (An array that something else still holds, a view or a launch, is
---copied.)
---@generic T: gb.Array|gb.Buffer
---@param value T
---@return T
function gb.move(value) end

-- ---- devices and queues ----

---How the memory that a device keeps of freed buffers does, since it was first used.
---@class gb.Pool
---@field hits integer buffers opened with kept memory
---@field misses integer and with new
---@field failures integer buffers that could not be opened
---@field trimmed integer blocks given back for lack of use or of memory
---@field bytes_in_use integer of the blocks of open buffers
---@field bytes_asked integer of those buffers: the rest is waste in blocks
---@field bytes_held integer kept for later
---@field bytes_max integer what may be kept (the setting memory_pool)
---@field hit_rate number 0 .. 1: hits of all
---@field utilization number 0 .. 1: in use, of what is in use or held
---@field fragmentation number 0 .. 1: waste, of what is in use

---@class gb.Device
---@field backend "cuda"|"cpu"|string
---@field index integer
---@field name string
---@field arch string "sm_90", "x86-64-v4"
---@field memory_total integer bytes
---@field memory_free integer bytes
---@field memory_pinned integer bytes of page-locked host memory, arrays and buffers
---@field memory_used? integer bytes, by all programs
---@field utilization? integer percent of the last moments in which a kernel ran
---@field temperature? integer degrees Celsius
---@field power? number watts
---@field pool gb.Pool
---@field lost? "kernel"|"bound"|"device" it takes nothing (ELOST), until it is reset where the host
---owns its GPUs; whose fault that is
---@field blame? "kernel"|"bound"|"device" the same of the last time that it was lost
---@field peers integer[] devices whose memory it reaches without the host
---@field numa_node? integer where it hangs in the machine
---@field cpus? string cores near to it: "0-15,32-47"
---@field threads_per_block_max integer
---@field shared_bytes_max integer of one block
---@field units integer multiprocessors or cores
---@field warp integer
---@field queue_depth integer commands that have not ended
---@field bytes_uploaded integer copied from the host to its buffers so far
---@field bytes_downloaded integer and back
---@field files integer loaded or saved so far
---@field files_direct integer those that went by GPUDirect Storage

---Where a launch from here would run. memory_used, utilization, temperature and power are what the
---driver's management library (NVML) says at this moment: nil on the cpu, without that library, and
---where it does not tell one. `self.device` of a grain has none of them, and no pool.
---@return gb.Device
function gb.device() end

---All devices; a cpu device is always the last.
---@return gb.Device[]
function gb.devices() end

---Commands of one queue run in order, beside those of other queues. Without one, the commands of a
---grain run in the grain's own order.
---@class gb.Queue
local Queue = {}

---Waits until everything that was queued has ended; gives the first error of it.
---@return true? ok
---@return string? message
---@return string? code
function Queue:wait() end

---No more commands; what is queued still runs.
---@return true
function Queue:close() end

---@param options? { device: integer, priority: "normal"|"high" }
---@return gb.Queue? queue
---@return string? message
---@return string? code
function gb.queue(options) end

-- ---- buffers ----

---@class gb.CopyOptions
---@field offset? integer in the buffer, in elements; default 0
---@field count? integer elements; default: all of the array, or up to the end
---@field queue? gb.Queue
---@field async? boolean gives a future instead of waiting

---Elements of one type on a device, freed when their last holder is gone. Between grains of one
---silo it is passed by reference: `d:share()` (read-only) or `gb.move(d)`.
---@class gb.Buffer
---@operator len: integer
local Buffer = {}

---Copies an array of the same type (or a list) into the buffer.
---@param from gb.Array|any[]
---@param options? gb.CopyOptions
---@return true|gb.Future|nil ok
---@return string? message
---@return string? code
function Buffer:upload(from, options) end

---Copies the buffer into an array; without one it gives a fresh array.
---@param into? gb.Array
---@param options? gb.CopyOptions
---@return gb.Array|true|gb.Future|nil result
---@return string? message
---@return string? code
function Buffer:download(into, options) end

---Copies from another buffer of the same type. `from_offset` counts in the other one. Between
---devices the copy goes through the host.
---@param other gb.Buffer
---@param options? gb.CopyOptions|{ from_offset: integer }
---@return true|gb.Future|nil ok
---@return string? message
---@return string? code
function Buffer:copy_from(other, options) end

---@param value any
---@param options? gb.CopyOptions
---@return true|gb.Future|nil ok
---@return string? message
---@return string? code
function Buffer:fill(value, options) end

---A read-only handle on the same memory.
---@return gb.Buffer
function Buffer:share() end

---Reads a file into the buffer. The file must have the bytes and must not change meanwhile.
---@param path string
---@param options? { offset?: integer, count?: integer, from?: integer, async?: boolean } from: the
--- first byte in the file, 0
---@return true|nil|gb.Future
---@return string? message
---@return string? code "ENOENT", "EINVAL", "ECONFLICT", "EDENIED", "EDEVICE", "ENOMEM"
function Buffer:load(path, options) end

---Writes a file with the elements of the buffer, all or nothing.
---@param path string
---@param options? { offset?: integer, count?: integer, async?: boolean }
---@return true|nil|gb.Future
---@return string? message
---@return string? code "EQUOTA": the disk is full; "EDENIED", "ENOENT", "EDEVICE"
function Buffer:save(path, options) end

---Lets go now; the memory goes with its last holder and the last command that uses it.
---@return true
function Buffer:free() end

---@return gb.Type
function Buffer:type() end

---The index of its device.
---@return integer
function Buffer:device() end

---A zeroed buffer of a count, or one with the elements of a list or an array.
---@param type gb.Type
---@param what integer|any[]|gb.Array
---@param options? { device: integer|gb.Device, kind: "device"|"pinned"|"unified" }
---@return gb.Buffer? buffer
---@return string? message
---@return string? code "ENOMEM"
function gb.buffer(type, what, options) end

-- ---- kernels ----

---@class gb.Parameter
---@field name string
---@field type string as the compiler sees it: "float", "unsigned int", "Body"
---@field pointer? true
---@field const? boolean of a pointer: what it points at is only read

---How many threads run a kernel. A plain number n is `{ threads = n, block = 256 }`.
---@class gb.Shape
---@field threads? integer|integer[] at least so many, in up to three dimensions
---@field grid? integer|integer[] blocks, in up to three dimensions; instead of threads
---@field block? integer|integer[] threads of a block; default 256, { 16, 16 } or { 8, 8, 8 }
---@field shared? integer bytes of dynamic shared memory
---@field queue? gb.Queue
---@field timeout? number|string run gives ETIMEDOUT then; what does not hold the worker runs on
---@field bound? number|string a kernel that runs longer is a runaway: "5m"

---One kernel. After the shape come the arguments of its CUDA signature:
---- a pointer takes an array or a buffer of its element type (a vector pointer also of its lane,
---  `void*` of any), or nil for a null pointer. Arrays given to a const pointer are only read,
---  given to another they hold the result afterwards; the same array twice, or views that overlap,
---  are one memory for the kernel too;
---- a number, boolean or 64-bit integer by value, checked against its type;
---- a vector or struct by value as a table or a value of `K.types`.
---
---Wrong arguments raise and name the parameter. The shape is argument 1.
---Seconds, since the host was opened.
---@class gb.KernelTimes
---@field launches integer that ended well
---@field failed integer
---@field seconds number of all of them
---@field max number
---@field p50 number within 1/32, as the next two
---@field p95 number
---@field p99 number
---@field waited number behind others on their queues, of all
---@field waited_max number

---@class gb.Kernel
---@field name string
---@field signature gb.Parameter[]
---@field info { registers: integer, shared_bytes: integer, threads_max: integer }
local Kernel = {}

---Runs the kernel and waits for it, and for what the grain queued before it.
---@param shape integer|gb.Shape
---@param ... any
---@return true? ok
---@return string? message
---@return string? code "ETRAP", "ETIMEDOUT", "ENOMEM", ...
function Kernel:run(shape, ...) end

---Starts the kernel.
---@param shape integer|gb.Shape
---@param ... any
---@return gb.Future
function Kernel:async(shape, ...) end

---What its launches took, on all devices, in seconds: with the setting `profiling` alone.
---@return gb.KernelTimes? times
---@return string? message
---@return string? code "EDENIED": nobody notes them
function Kernel:stats() end

---The kernels of one source: `K.saxpy`, `K["physics::step"]`, `K["sum<float,256>"]`. K belongs to
---no device: a launch runs on the device of its queue, else of its first buffer, else of the grain,
---and the source is compiled for a device when it is first used there.
---@class gb.Kernels
---@field types table<string, gb.StructType> the structs that kernels and globals mention
---@field log string warnings of the compiler
---@field [string] gb.Kernel
local Kernels = {}

---A `__device__` or `__constant__` variable as a buffer. All users of one source on one device
---share it.
---@param name string
---@param options? { device: integer }
---@return gb.Buffer? buffer
---@return string? message
---@return string? code
function Kernels:global(name, options) end

---Compiles anew wherever the kernels were loaded; a file is read again. On an error the old kernels
---stay.
---@return true? ok
---@return string? message
---@return string? code "ECOMPILE", "ENOENT"
function Kernels:reload() end

---A kernel by name, also one that is called like a method of K.
---@param name string
---@return gb.Kernel
function Kernels:kernel(name) end

---@class gb.KernelsOptions
---@field file? string a path in the app, beside the script, or here
---@field source? string CUDA C++, instead of a file
---@field name? string for messages
---@field options? string[] -DX -UX -std=c++NN -use_fast_math -maxrregcount=N
---@field include? string[] folders for #include "..."; the file's own folder is always one
---@field instances? string[] of templates: "sum<float,256>"

---Compiles CUDA C++ (or takes it from the cache).
---@param options string|gb.KernelsOptions a string is the file
---@return gb.Kernels? K
---@return string? message the compiler's own lines, each with its source line
---@return string? code "ECOMPILE", "ENOENT", "EINVAL"
function gb.kernels(options) end

---Device work recorded once and run many times. Strings name slots: what `run` binds, and what
---stages make. Maps that follow one another, and a reduction behind them, become one kernel.
---@class gb.Plan
local Plan = {}

---A launch; strings in the shape and among the arguments are slots.
---@param kernel gb.Kernel|string a string: a kernel of gb.plan(K)
---@param shape integer|string|gb.Shape
---@param ... any arguments in the order of the CUDA signature
---@return gb.Plan
function Plan:launch(kernel, shape, ...) end

---Sets every element of a slot to an expression in CUDA C++ over slots: numbers, and the elements
---of arrays and buffers at the same place. A slot that is not there is made.
---@param slot string
---@param expression string "a * sqrtf(x) + 1.0f"
---@param options? { type: string } the element type of a slot that is made; else the widest
---@return gb.Plan
function Plan:map(slot, expression, options) end

---@param slot string
---@param op "sum"|"min"|"max"|"argmin"|"argmax"
---@param into string the result: a slot for later maps, and a number in what run gives
---@return gb.Plan
function Plan:reduce(slot, op, into) end

---@param slot string its elements at this place of the plan are among what run gives
---@return gb.Plan
function Plan:download(slot) end

---A slot of its own, zero before the first run.
---@param slot string
---@param type string|table
---@param count integer|string elements; a string: the slot with the number
---@return gb.Plan
function Plan:make(slot, type, count) end

---@param slot string
---@param value any for every element
---@return gb.Plan
function Plan:fill(slot, value) end

---@param from string
---@param to string made where it is not there
---@return gb.Plan
function Plan:copy(from, to) end

---Runs the plan and waits. A host array is uploaded and never changed, unless the plan downloads
---its slot: then it is the target. A buffer is used in place.
---@param slots table<string, gb.Array|gb.Buffer|number|boolean>
---@return table? out by name: an array for each download, a number for each reduction
---@return string? message
---@return string? code "ECOMPILE", "ENOMEM", "ETRAP", "ETIMEDOUT", "EDEVICE"
function Plan:run(slots) end

---@class gb.PlanStats
---@field stages integer
---@field nodes integer of the graph that ran last
---@field edges integer of the graph that ran last: who waits for whom, where that is known
---@field queues integer on which the last run was
---@field executions integer
---@field graphs integer made so far: one for each shape of what was bound
---@field driver_graphs integer built by a GPU's driver
---@field replays integer handed to the driver as one
---@field fallbacks integer that were to be replayed and were queued one by one
---@field fallback? string what the driver said, the last time
---@field replay_seconds_saved number of the calling thread, against queueing one by one
---@field seconds_saved number that, and what making graphs took for each run that found its made

---@return gb.PlanStats
function Plan:stats() end

---@param kernels? gb.Kernels lets launch take the names of its kernels
---@return gb.Plan
function gb.plan(kernels) end
