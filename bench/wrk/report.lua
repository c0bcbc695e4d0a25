-- Where a pause is set, each connection waits so long between two requests on average: from nothing to twice as long, or
-- all of them would ask at once.
local pause = tonumber(os.getenv("PAUSE_MS") or 0)
if pause > 0 then
  local threads = 0
  function setup(thread)
    threads = threads + 1
    thread:set("seed", threads)
  end
  function init()
    math.randomseed(seed)
  end
  delay = function() return math.random(0, 2 * pause) end
end

-- What a run of wrk found, as one line of JSON; times in microseconds.
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"duration":%d,"p50":%d,"p99":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
