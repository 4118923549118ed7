---@meta gb
-- What `require "gb"` gives to grains and scripts, for editors that read LuaLS annotations. Nothing
-- here is ever run. Arrays, buffers and kernels are in gb_kernels.lua. The test docs.meta compares
-- both files with the live module.

---@class gb
---@field config table The configuration; users' own settings are under `app`.
---@field log gb.Log Structured lines on the log.
---@field catalog gb.Catalog kernels by name
---@field capacity gb.CapacityApi the GPUs of a cluster
---@field resident gb.ResidentRoom State that grains have on devices.
---@field lib gb.Lib Kernels that every program needs: see gb_lib.lua.
---@field resilience gb.Resilience Devices and kernels that fail: docs/resilience.md.
---@field test gb.Test For specs: gbrun test DIR.
---@field host table<string, function> Functions of the program that embeds the host.
local gb = {}

---A number of seconds, or a text with a unit: "250ms", "5s", "10m", "1h", "1d".
---@alias gb.Duration number|string

---The codes of failures. A grain's own come from gb.fail.
---@alias gb.Code
---| "ERAISED" # the method raised an error
---| "ETIMEDOUT" # the deadline passed
---| "ECANCELED" # cancelled
---| "EDEADLOCK" # the call would wait for itself
---| "EBUSY" # full
---| "ENOTYPE" # no such grain type
---| "ENOMETHOD" # no such method
---| "EINVAL" # invalid argument
---| "ENOENT" # not found
---| "ENOMEM" # out of memory
---| "EQUOTA" # over the quota
---| "EDENIED" # not allowed
---| "ECONFLICT" # changed by someone else
---| "ECLOSED" # closed
---| "ELOST" # connection or device lost: the call may have run
---| "ESTUCK" # the worker is stuck in a turn
---| "ECOMPILE" # the kernel source does not compile
---| "ENOGPU" # no GPU
---| "EDEVICE" # wrong device
---| "ETRAP" # the kernel trapped
---| "ENOTYET" # not in this version yet
---| string

-- ---- grains ----

---@alias gb.Placement "random"|"local"|"hash"|"least"|"stateless"|gb.GpuPlacement

---@class gb.GrainOptions
---@field placement? gb.Placement Where it runs. "random" by default.
---@field kernels? string A CUDA C++ file: compiled when the grain is activated, as self.kernels.
---@field reentrant? boolean|"chain" Other turns may come while one waits; "chain": of its callers.
---@field keep_alive? boolean Is never deactivated for being idle.
---@field idle? gb.Duration Deactivated after so long without a call. "10m" by default.
---@field max_queue? integer Calls that may wait for it. 1024 by default.
---@field max_activations? integer Of a stateless grain, on each worker. 16 by default.
---@field resident? table<string, gb.ResidentBuffer|gb.Duration> Buffers that stay on the device as
--- self.resident; `idle`: how long unused until they are written back ("10m").
---@field tenant? string Whom their device memory counts to: one of the setting `tenants`, any name
--- where there is no such setting.
---@field storage? string Not in this version yet.
---@field save? "turn" Not in this version yet.

---Defines a grain type. Put methods on what it returns. Names that begin with _ or on_ are private;
---on_activate() and on_deactivate(reason) are called by the host.
---@param name string Letters, digits and _ . -
---@param options? gb.GrainOptions
---@return gb.Self class
function gb.grain(name, options) end

---@class gb.ResidentBuffer
---@field type gb.ElementType
---@field count integer
---@field kind? "device"|"unified" "device" by default.

---@class gb.ResidentRoom
local ResidentRoom = {}

---Of the silo: grains and bytes on devices, kept and kept_bytes in host memory; since the start
---loads, reloads, evictions, evictions_idle, losses, bytes_loaded, bytes_saved.
---@return table<string, integer>? stats
---@return string? message
---@return gb.Code? code
function ResidentRoom.stats() end

---Inside a grain: writes its state back now and leaves it on the device.
---@param self gb.Self
---@return true|nil, string? message, gb.Code? code
function ResidentRoom.save(self) end

---Drops what the host keeps of a grain's state: true when there was something.
---@param ref gb.Ref
---@return boolean
function ResidentRoom.forget(ref) end

---@class gb.GpuPlacement

---@class gb.GpuOptions
---@field memory? integer|string That must be free: bytes, or "512MB".
---@field device? integer The index of a device, from 0.
---@field policy? "score"|"affinity"|"balanced" "score" by default.
---@field prefer_local? boolean
---@field required? boolean No CPU instead of a GPU: ENOGPU.
---@field label? table<string, string|integer> In a cluster: only silos with these labels.

---A placement for grains that want a device with room for them. It is chosen when the grain is
---activated.
---@param options? gb.GpuOptions
---@return gb.GpuPlacement
function gb.gpu(options) end

---A reference to a grain: no I/O, the grain need not exist. 7 and "7" are the same key.
---@param type string|gb.Self The name, or what gb.grain returned.
---@param key string|integer
---@return gb.Ref
function gb.get(type, key) end

---Calls a method by its name, also one called like a method of references.
---@param ref gb.Ref
---@param method string
---@param ... any
---@return any ... The results, or nil, message, code.
function gb.call(ref, method, ...) end

---The same as ref:tell(method, ...).
---@param ref gb.Ref
---@param method string
---@param ... any
---@return true|nil, string? message, gb.Code? code
function gb.tell(ref, method, ...) end

---The same as ref:async(method, ...).
---@param ref gb.Ref
---@param method string
---@param ... any
---@return gb.Future
function gb.async(ref, method, ...) end

---Ends the turn: the caller gets nil, the text, the code.
---@param code string
---@param format? string As for string.format.
---@param ... any
function gb.fail(code, format, ...) end

---The keys of the active grains of a type, on all workers of this silo.
---@param type string|gb.Self
---@return (string|integer)[]|nil, string? message, gb.Code? code
function gb.keys(type) end

---How many grains of a type are active on all workers of this silo.
---@param type string|gb.Self
---@return integer|nil, string? message, gb.Code? code
function gb.count(type) end

---Listens to what a grain publishes. A grain gives a method name or a function; a script gives a
---function.
---@param ref gb.Ref
---@param topic string
---@param handler fun(...: any)|string
---@return gb.Subscription|nil, string? message, gb.Code? code
function gb.subscribe(ref, topic, handler) end

---What gb.get returns. Every other name is a method of the grain: it is called, and its results
---are awaited.
---@class gb.Ref
---@field [string] fun(self: gb.Ref, ...: any): ...
local Ref = {}

---"Type/key"
---@return string
function Ref:id() end

---One way: true once it is queued. Waits while the mailbox is full.
---@param method string
---@param ... any
---@return true|nil, string? message, gb.Code? code
function Ref:tell(method, ...) end

---Starts a call; its results come later.
---@param method string
---@param ... any
---@return gb.Future
function Ref:async(method, ...) end

---@class gb.CallOptions
---@field timeout? gb.Duration 30 s by default.
---@field priority? integer -128 to 127; higher ones pass.
---@field raise? boolean Raises instead of returning nil, message, code.
---@field bag? table Travels with the call: gb.context().bag.

---A reference to the same grain whose calls have options. It may be kept.
---@param options gb.CallOptions
---@return gb.Ref
function Ref:with(options) end

---A grain inside its methods.
---@class gb.Self
---@field state table Lasts as long as the activation.
---@field device? gb.Device The grain's device, when it has kernels.
---@field kernels? gb.Kernels Of the option `kernels`.
---@field resident? table<string, gb.Buffer> Of the option `resident`.
---@field [string] any
local Self = {}

---"Type/key"
---@return string
function Self:id() end

---@return string|integer
function Self:key() end

---A reference to this grain.
---@return gb.Ref
function Self:ref() end

---Asks to be deactivated after this turn.
---@return true
function Self:deactivate() end

---@class gb.TimerOptions
---@field after? gb.Duration Until the first tick; `every` by default.
---@field every? gb.Duration Between ticks; without it there is one tick.
---@field call string The method that is called: each tick is a turn.
---@field args? any[]

---Missed ticks coalesce. A timer does not keep its grain alive.
---@param options gb.TimerOptions
---@return gb.Timer|nil, string? message, gb.Code? code
function Self:timer(options) end

---Tells everybody who subscribed to this grain.
---@param topic string
---@param ... any
---@return true|nil, string? message, gb.Code? code
function Self:publish(topic, ...) end

---Not in this version yet.
---@return nil, string message, "ENOTYET"
function Self:reminder(options) end

---Not in this version yet.
---@return nil, string message, "ENOTYET"
function Self:save_state() end

---Not in this version yet.
---@return nil, string message, "ENOTYET"
function Self:load_state() end

---Not in this version yet.
---@return nil, string message, "ENOTYET"
function Self:clear_state() end

---@class gb.Timer
local Timer = {}

---@return boolean
function Timer:stop() end

---@class gb.Subscription
local Subscription = {}

---@return true|nil, string? message, gb.Code? code
function Subscription:close() end

---How many messages it has lost because it heard them too slowly, or because its silo could not be
---reached; in a cluster. Within a silo that is alone whoever publishes waits instead.
---@return integer
function Subscription:dropped() end

-- ---- futures ----

---@class gb.Future
local Future = {}

---Waits for the results; nil, message, "ETIMEDOUT" when they take longer.
---@param timeout? gb.Duration
---@return any ...
function Future:await(timeout) end

---@return boolean
function Future:done() end

---Gives the results up: true when they were still to come.
---@return boolean
function Future:cancel() end

---The first result of each, in order; a list when given a list. A failure: nil, message, code,
---index.
---@param ... gb.Future|gb.Future[]
---@return any ...
function gb.all(...) end

---The results of the first that succeeds; when all fail, the failure of the last one.
---@param ... gb.Future|gb.Future[]
---@return any ...
function gb.any(...) end

---@class gb.Settled
---@field ok boolean
---@field value? any
---@field message? string
---@field code? gb.Code

---Waits for all of them.
---@param ... gb.Future|gb.Future[]
---@return gb.Settled[]
function gb.settled(...) end

-- ---- turns ----

---Other grains go on meanwhile; a grain that is not reentrant takes no other turn.
---@param duration gb.Duration
---@return true|nil, string? message, gb.Code? code
function gb.sleep(duration) end

---Runs a function as a turn of its own; cancelled when its grain is deactivated. An error in it is
---the future's result: who never awaits it does not hear of it.
---@param fn fun(...: any): ...
---@param ... any
---@return gb.Future
function gb.spawn(fn, ...) end

---Seconds of a clock that never goes back.
---@return number
function gb.monotonic() end

---Seconds since 1970.
---@return number
function gb.time() end

---Seconds that are left to the caller of this turn; nil: it has no deadline.
---@return number|nil
function gb.deadline() end

---Has the caller of this turn given up?
---@return boolean
function gb.cancelled() end

---@class gb.Context
---@field trace string 32 hex digits
---@field sampled boolean Its calls and launches leave spans.
---@field tenant string Of the grain that asks; "default": it has none, or this is a script.
---@field bag table What with{ bag = } gave.

---@return gb.Context
function gb.context() end

---@class gb.Span
---@field name string "Counter.add", "gpu.kernel.execute"
---@field trace string
---@field span string
---@field parent? string A root has none.
---@field start number Seconds since 1970.
---@field seconds number
---@field status string "OK" or a code.
---@field attributes table<string, string|number>

---The spans of sampled traces that have ended since the last time, each told once.
---@return gb.Span[]? spans
---@return integer|string dropped How many were not kept since the silo started; or the message.
---@return string? code "EDENIED": tracing is off
function gb.spans() end

---@class gb.Tenant
---@field name string "default": what belongs to no tenant.
---@field memory integer Bytes of all devices, and page-locked, in use or reserved.
---@field memory_max? integer The cap; none without the setting.

---The tenants of this silo, "default" first.
---@return gb.Tenant[]
function gb.tenants() end

---@class gb.Silo
---@field name string
---@field address? string In a cluster: where it listens.
---@field id? string In a cluster: of this life of it.
---@field state? string In a cluster: "active", ...
---@field cluster? string Its name.
---@field members? integer How many silos are active.
---@field worker integer The worker that runs this, from 0.
---@field workers integer

---@return gb.Silo
function gb.silo() end

---@class gb.Log
local Log = {}

---@param text string
---@param fields? table
---@return true
function Log.debug(text, fields) end

---@param text string
---@param fields? table
---@return true
function Log.info(text, fields) end

---@param text string
---@param fields? table
---@return true
function Log.warn(text, fields) end

---@param text string
---@param fields? table
---@return true
function Log.error(text, fields) end

---type() that knows gb's values: "ref", "self", "grain", "future", "array", "buffer", "queue",
---"kernel", "kernels", "timer", "subscription", "int64", "uint64", "element"; for everything else
---what type() says.
---@param value any
---@return string
function gb.type(value) end

-- ---- specs ----

---Inside gbrun test, where time is virtual.
---@class gb.Test
local Test = {}

---Lets so much time pass: timers fire in their order, and what they start runs to its end.
---@param duration gb.Duration
---@return true
function Test.advance(duration) end

---Runs until nothing is left to do at this time.
---@return true
function Test.idle() end

---What is random begins anew.
---@param number integer
---@return true
function Test.seed(number) end

---Replaces methods of a type until gb.test.reset().
---@param type string|gb.Self
---@param methods table<string, function>
---@return true
function Test.replace(type, methods) end

---Ends the activation behind a reference, with its hook: true when there was one.
---@param ref gb.Ref
---@return boolean|nil, string? message, gb.Code? code
function Test.deactivate(ref) end

---As at the start: methods are the types' own again, nothing fails on purpose, no grain is active.
---@return true|nil, string? message, gb.Code? code
function Test.reset() end

---The next calls of a method ("Mailer.send") give their callers this code.
---@param point string
---@param code gb.Code
---@param times? integer 1 by default.
---@return true|nil, string? message, gb.Code? code
function Test.fail(point, code, times) end

---Handles of so many silos; more than one is not in this version yet.
---@param count integer
---@return table[]|nil, string? message, gb.Code? code
function Test.silos(count) end

---Raises unless all elements are as near to the expected ones as the tolerance.
---@param array gb.Array|number[]|number
---@param expected gb.Array|number[]|number
---@param tolerance? number 1e-6 by default.
---@return true
function Test.near(array, expected, tolerance) end

-- ---- placement in a cluster ----

---A placement: any silo that has all of these labels (`gbrun silo --label zone=a`).
---@param labels table<string, string|integer>
---@return gb.Placement
function gb.label(labels) end

---What a silo told of its GPUs. Sizes are bytes.
---@class gb.Capacity
---@field silo string
---@field devices integer
---@field memory_total number
---@field memory_free number
---@field memory_largest number The most that is free on one device.
---@field queue_depth integer
---@field backend string "cuda"; "" without a GPU.
---@field grains integer Active there.
---@field score number 0 to 100.
---@field used_percent number Of all its memory; 0 without any.
---@field age number Seconds since it was measured.
---@field stale boolean Older than two minutes: no grain is placed there for its GPUs.

---@class gb.CapacityFigures
---@field devices? integer
---@field memory_total? number|string Bytes, or "16GB".
---@field memory_free? number|string
---@field memory_largest? number|string
---@field queue_depth? integer
---@field backend? string

---@class gb.CapacityApi
local Capacity = {}

---The silos with a GPU, by name; with all = true also those without one and stale ones.
---@param options? { all?: boolean }
---@return gb.Capacity[]|nil, string? message, gb.Code? code
function Capacity.list(options) end

---@param silo string
---@return gb.Capacity|nil, string? message, gb.Code? code
function Capacity.get(silo) end

---The silo with the highest score of those with so much memory free on one GPU; ENOENT: none.
---@param options? { memory?: number|string }
---@return gb.Capacity|nil, string? message, gb.Code? code
function Capacity.best(options) end

---Of the whole cluster. queue_depth is the mean of silos with GPUs.
---@class gb.CapacityStats
---@field silos integer
---@field gpu_silos integer
---@field stale integer
---@field memory_total number
---@field memory_free number
---@field memory_largest number
---@field queue_depth number

---@return gb.CapacityStats|nil, string? message, gb.Code? code
function Capacity.stats() end

---Figures told by hand instead of the measured ones, for five minutes.
---@param silo string
---@param figures gb.CapacityFigures
---@return true|nil, string? message, gb.Code? code
function Capacity.update(silo, figures) end

---The same; without figures the measured ones are told again.
---@param silo string
---@param figures? gb.CapacityFigures
---@return true|nil, string? message, gb.Code? code
function Capacity.register(silo, figures) end

---The silo has no GPU, as far as others are concerned.
---@param silo string
---@return true|nil, string? message, gb.Code? code
function Capacity.unregister(silo) end

return gb
