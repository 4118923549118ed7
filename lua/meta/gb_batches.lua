---@meta gb
-- The catalog, batches, streams and pipelines: docs/batches.md explains them.

---The first const pointer of the kernel takes the items, its first other pointer the results (or
---the items in place), an integer `n` or `count` their number.
---@class gb.CatalogOptions: gb.KernelsOptions
---@field kernel string
---@field args? table<string, any> the values of all other parameters
---@field item_count? integer elements of one item: 1
---@field result_count? integer elements of one result: 1

---@class gb.Catalog
local Catalog = {}

---Names a kernel for gb.batch and gb.pipeline, on all workers. It is compiled at its first use.
---@param id string
---@param options gb.CatalogOptions
---@return true
function Catalog.register(id, options) end

---The ids that this worker knows.
---@return string[]
function Catalog.list() end

---@class gb.BatchHints
---@field device? integer the first choice; another one where it is not in order
---@field max_micro_batch? integer|"auto" items in one launch: 10000; "auto": found by measuring
---@field persistent? boolean keep the device's buffers for the next batch
---@field prefer_gpu? boolean false: the cpu, also where there is a GPU; else as the silo's setting
---@field required? boolean no cpu instead of a GPU: ENOGPU
---@field timeout? number|string "5m"
---@field high_priority? boolean its work goes before other work that waits on the device

---@class gb.BatchFailure
---@field first integer
---@field last integer
---@field message string
---@field code string

---@class gb.Batch
local Batch = {}

---Micro-batches that fit 80 % of the device's free memory, four at most under way.
---@param items any[]|gb.Array numbers, vectors, or lists and arrays of item_count elements
---@param hints? gb.BatchHints
---@return any[]|gb.Array|nil results in the order and form of the items
---@return string? message
---@return string? code
---@return { results: any[]|gb.Array, failed: gb.BatchFailure[] }? partial what did not fail
function Batch:execute(items, hints) end

---One item, in one launch with the items that other turns of this worker call with now. Waits.
---@param item any
---@return any result
---@return string? message
---@return string? code
function Batch:call(item) end

---How calls are gathered on this worker: 1000 items at most. A group waits for more so long as
---max_delay says; where that is not given until nobody is left who could bring more, 1 ms at most.
---@param options { max_batch?: integer, max_delay?: number|string }
---@return gb.Batch
function Batch:coalesce(options) end

---@class gb.StreamOptions
---@field out fun(result: any, message: string?, code: string?) in the order of the items
---@field preset? "default"|"low_latency"|"high_throughput" where the fields below are not given
---@field size? integer items in a batch: 128
---@field delay? number|string how long an item waits for others: "100ms"
---@field buffer? integer most items under way: 100000
---@field pause? number part of the buffer from which on push waits: 0.9
---@field resume? number until so much of it is left: 0.5
---@field adaptive? boolean larger batches while that makes it faster, looked at every 10 s; without
--- it: true unless size is given
---@field min? integer of an adaptive size: 32
---@field max? integer 10000
---@field hints? gb.BatchHints

---@param options gb.StreamOptions
---@return gb.BatchStream
function Batch:stream(options) end

---@class gb.BatchStats
---@field batches integer of this handle, as all that follows
---@field micro_batches integer
---@field items integer
---@field failures integer
---@field sizes? table<integer, integer> by device, where max_micro_batch = "auto" has found them

---@return gb.BatchStats
function Batch:stats() end

---@class gb.BatchStream
local BatchStream = {}

---Waits while the buffer is full.
---@param item any
---@return true? ok
---@return string? message
---@return string? code "ECLOSED", "EINVAL" (out raised), "EBUSY" (full, and it is out that pushes)
function BatchStream:push(item) end

---Runs what is there now, full or not.
---@return true
function BatchStream:flush() end

---Takes no more items, and returns when out has had all results. Raises in out.
---@return true? ok
---@return string? message
---@return string? code
function BatchStream:stop() end

---@class gb.StreamStats
---@field state "idle"|"processing"|"paused"|"stopping"|"stopped"|"failed"
---@field pushed integer
---@field given integer
---@field failed integer
---@field waiting integer
---@field batches integer
---@field pauses integer how often push began to wait
---@field size integer of a batch now
---@field rate number items a second in the last ten
---@field latency? { mean: number, p50: number, p99: number, max: number } seconds from the first
--- item of a batch to its last result, of the last 1000 batches

---@return gb.StreamStats
function BatchStream:stats() end

---@param id string of the catalog
---@return gb.Batch
function gb.batch(id) end

---@class gb.Pipeline
local Pipeline = {}

---@param id string
---@return gb.Pipeline
function Pipeline:kernel(id) end

---@param fn fun(item: any): any true keeps the item
---@return gb.Pipeline
function Pipeline:filter(fn) end

---@param fn fun(item: any): any
---@return gb.Pipeline
function Pipeline:map(fn) end

---@param fn fun(item: any)
---@return gb.Pipeline
function Pipeline:tap(fn) end

---@param n integer items in one batch: 100
---@return gb.Pipeline
function Pipeline:batch_size(n) end

---@param n integer batches under way at once: 1
---@return gb.Pipeline
function Pipeline:parallelism(n) end

---@param fn fun(done: integer, all: integer) after each batch, in the order of the batches
---@return gb.Pipeline
function Pipeline:progress(fn) end

---@param items any[]|gb.Array
---@param hints? gb.BatchHints
---@return any[]? results in the order of the items
---@return string? message
---@return string? code
---@return { results: table[], failed: gb.BatchFailure[] }? partial by batch
function Pipeline:execute(items, hints) end

---@param id? string of the catalog: the first stage
---@return gb.Pipeline
function gb.pipeline(id) end
