-- Sends the prepared requests of a file, each once.
--
--   wrk … -- FILE                    every connection sends as fast as it is answered, for as long as wrk runs
--   wrk … -- FILE paced SECONDS      each connection waits before each request for a random time with this mean
--   wrk … -- FILE all COUNT          as fast as they are answered, until every one of COUNT is
--
-- The file holds records: the length as eight digits, then the bytes of a request. The random times are exponentially
-- distributed, so that the arrivals look like those of many independent senders.

local ffi = require("ffi")
ffi.cdef [[
   typedef struct { long seconds; long nanoseconds; } moment;
   int clock_gettime(int clock, moment *now);
]]

local RESULT = 'RESULT {"exhausted": %s, "answered": %d, "seconds": %.6f, "refused": %d, "broken": %d, ' ..
   '"p50_ms": %.4f, "p99_ms": %.4f, "max_ms": %.4f}\n'
local file, first
local threads = {}

local function now()
   local moment = ffi.new("moment")
   ffi.C.clock_gettime(1, moment)
   return tonumber(moment.seconds) + tonumber(moment.nanoseconds) / 1e9
end

local function take()
   local length = file:read(8)
   return length and file:read(tonumber(length))
end

-- What delay() answers is the wait before the next request in milliseconds.
local function pace(mean)
   math.randomseed(4711)
   function delay()
      return math.floor(-math.log(1 - math.random()) * mean * 1000 + math.random())
   end
end

local function stop_after(total)
   local begun, answered, refused, began = 0, 0, 0, now()
   function delay()
      begun = begun + 1
      return begun > total and 3600000 or 0
   end
   function response(status)
      answered = answered + 1
      if status > 299 then refused = refused + 1 end
      if answered < total then return end
      io.write(string.format(RESULT, "false", answered, now() - began, refused, 0, 0, 0, 0))
      io.flush()
      os.exit(0) -- wrk itself would sleep until its time is over
   end
end

function setup(thread)
   table.insert(threads, thread)
end

function init(arguments)
   file = assert(io.open(arguments[1], "rb"))
   file:setvbuf("full", 1048576)
   first = take()
   if arguments[2] == "paced" then pace(tonumber(arguments[3])) end
   if arguments[2] == "all" then stop_after(tonumber(arguments[3])) end
end

local calls = 0

function request()
   calls = calls + 1
   -- wrk asks once before it begins, only to look at the answer: that one is given again.
   if calls <= 2 then return first end
   local bytes = take()
   if bytes then return bytes end
   ran_out = 1
   return "POST /" -- never ends, so nobody answers it; the run is void
end

function done(summary, latency, _requests)
   local exhausted = false
   for _, thread in ipairs(threads) do exhausted = exhausted or thread:get("ran_out") == 1 end
   local errors = summary.errors
   io.write(string.format(
      RESULT, tostring(exhausted), summary.requests, summary.duration / 1e6,
      errors.status, errors.connect + errors.read + errors.write + errors.timeout,
      latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency.max / 1000))
end
