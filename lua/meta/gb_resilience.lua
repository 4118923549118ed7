---@meta gb
-- Policies, breakers, bulkheads, buckets and levels: docs/resilience.md explains them.

---@class gb.BreakerOptions
---@field name? string for messages
---@field ratio? number share of failures that opens it: 0.5
---@field failures? integer so many in a row open it too
---@field window? gb.Duration within it calls are counted: "2m"
---@field min_calls? integer fewer of them do not open it: 10
---@field open? gb.Duration until a trial: "1m"
---@field codes? gb.Code[] what counts as a failure
---@field on_change? fun(breaker: gb.Breaker, from: string, to: string, why: string?)

---@class gb.Breaker
local Breaker = {}

---@return "closed"|"open"|"half_open"|"isolated"
function Breaker:state() end

---@return integer? ticket for finish or forget
---@return string? message
---@return string? code "EBUSY": it is open
function Breaker:begin() end

---@param ticket integer
---@param good boolean
---@param calls? integer how many it stands for: 1
function Breaker:finish(ticket, good, calls) end

---It ended and says nothing about what is watched.
---@param ticket integer
function Breaker:forget(ticket) end

---Whether a result is a failure for this breaker.
---@param value any
---@param code? gb.Code
---@return boolean
function Breaker:counts(value, code) end

---@param fn function
---@param ... any
---@return any ... its results; nil, message, "EBUSY" while it is open
function Breaker:run(fn, ...) end

---Opens it now.
---@param why? string
---@return true
function Breaker:trip(why) end

---Refuses everything until reset.
---@return true
function Breaker:isolate() end

---@return true
function Breaker:reset() end

---@return number seconds until a trial
function Breaker:wait() end

---@class gb.BreakerStats
---@field state string
---@field calls integer within the window
---@field failures integer of them
---@field opened integer how often
---@field rejected integer calls
---@field why? string
---@field wait number seconds until a trial

---@return gb.BreakerStats
function Breaker:stats() end

---@param options? gb.BreakerOptions
---@return gb.Breaker
function gb.breaker(options) end

---@class gb.BulkheadOptions
---@field name? string
---@field running? integer 10
---@field queued? integer 50
---@field wait? gb.Duration "30s"

---@class gb.Bulkhead
local Bulkhead = {}

---@return userdata? lease
---@return string? message
---@return string? code "EBUSY"
function Bulkhead:enter() end

---@param lease userdata
function Bulkhead:leave(lease) end

---@return { running: integer, queued: integer, rejected: integer, late: integer }
function Bulkhead:stats() end

---@param options? gb.BulkheadOptions
---@return gb.Bulkhead
function gb.bulkhead(options) end

---@class gb.BucketOptions
---@field name? string
---@field rate? number calls a second: 10
---@field burst? number at once after a rest: 20
---@field refill? gb.Duration tokens come in these steps: "100ms"
---@field wait? gb.Duration the longest: "30s"

---@class gb.Bucket
local Bucket = {}

---Waits for a token.
---@return true? ok
---@return string? message
---@return string? code "EBUSY"
function Bucket:take() end

---@return { tokens: number, taken: integer, rejected: integer }
function Bucket:stats() end

---@param options? gb.BucketOptions
---@return gb.Bucket
function gb.bucket(options) end

---@class gb.LevelsOptions
---@field name? string
---@field optimal? function
---@field reduced? function
---@field degraded? function
---@field ratio? number more failures than that go one level down: 0.5
---@field min_calls? integer 10
---@field window? gb.Duration "10m"
---@field up_after? gb.Duration "5m"
---@field up_ratio? number fewer errors than that go up: 0.1
---@field up_calls? integer so do fewer calls than that: 5
---@field codes? gb.Code[] what counts as a failure
---@field on_change? fun(levels: gb.Levels, from: string, to: string)

---@class gb.Levels
local Levels = {}

---@param ... any
---@return any ...
function Levels:run(...) end

---@return "optimal"|"reduced"|"degraded"|"failed"
function Levels:level() end

---@return true
function Levels:reset() end

---@return { level: string, calls: integer, failures: integer, downs: integer, ups: integer }
function Levels:stats() end

---@param options gb.LevelsOptions
---@return gb.Levels
function gb.levels(options) end

---@class gb.RetryOptions
---@field like? "kernel"|"device"|"alloc"|"compile" the preset that the other fields change
---@field retries? integer after the first attempt: 3
---@field base? gb.Duration the first pause: "500ms"
---@field max? gb.Duration the longest: "30s"
---@field kind? "exponential"|"linear"|"constant"
---@field jitter? number the share of a pause that is random: 0.5
---@field codes? gb.Code[] what is tried again: EBUSY, ENOMEM, EDEVICE
---@field idempotent? boolean what may have run is tried again too: ELOST, ETIMEDOUT

---@class gb.ChaosOptions
---@field fault? number 0.01
---@field latency? number 0.05
---@field latency_min? gb.Duration "100ms"
---@field latency_max? gb.Duration "5s"
---@field exception? number 0.02
---@field exhaustion? number 0.01
---@field exhaustion_for? gb.Duration "30s"

---@class gb.PolicyOptions
---@field name? string for messages
---@field retry? true|"kernel"|"device"|"alloc"|"compile"|gb.RetryOptions
---@field breaker? true|gb.BreakerOptions|gb.Breaker
---@field bulkhead? true|gb.BulkheadOptions|gb.Bulkhead
---@field rate? true|gb.BucketOptions|gb.Bucket
---@field timeout? gb.Duration|"kernel"|"device"|"alloc"|"compile"|"transfer"|"other" of an attempt
---@field fallback? gb.Levels|fun(message: string, code: string, ...: any): any
---@field chaos? true|gb.ChaosOptions off unless it is asked for

---@class gb.Policy
local Policy = {}

---Runs fn(...): its results, those of the fallback, or nil, message, code.
---@param fn function
---@param ... any
---@return any ...
function Policy:run(fn, ...) end

---@return table counts calls, failures, retries, timeouts, fallbacks, breaker, bulkhead, rate
function Policy:stats() end

---@param options gb.PolicyOptions
---@return gb.Policy
function gb.policy(options) end

---@class gb.ResilienceOptions
---@field device? gb.BreakerOptions of each device: 0.3 of 5 calls in "1m" open it for "2m"
---@field kernel? gb.BreakerOptions of each kernel: 0.5 of 10 calls in "2m" open it for "1m"
---@field max_kernels? integer launches under way at once in the silo; 0: any number

---@class gb.FaultyDevice
---@field index integer
---@field lost? "kernel"|"bound"|"device" whose fault
---@field breaker gb.BreakerStats
---@field failures integer that were the device's
---@field times_lost integer
---@field moved integer launches and batches that went elsewhere

---@class gb.FaultyKernel
---@field name string source:kernel
---@field breaker gb.BreakerStats
---@field failures integer

---@class gb.WorkerFaults
---@field devices gb.FaultyDevice[]
---@field kernels gb.FaultyKernel[]

---@class gb.Resilience
local Resilience = {}

---Numbers of the breakers that launches of grains and batches use, on all workers.
---@param options gb.ResilienceOptions
---@return true? ok
---@return string? message
---@return string? code
function Resilience.configure(options) end

---A device or a kernel is not used any more, until reset.
---@param name integer|string|gb.DeviceInfo|gb.Kernel
---@return true? ok
---@return string? message
---@return string? code
function Resilience.isolate(name) end

---@param name integer|string|gb.DeviceInfo|gb.Kernel
---@return true? ok
---@return string? message
---@return string? code
function Resilience.reset(name) end

---What is or was out of order, for each worker.
---@return gb.WorkerFaults[]? workers
---@return string? message
---@return string? code
function Resilience.stats() end
