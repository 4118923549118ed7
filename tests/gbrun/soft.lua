-- soft.lua: the environment of a case that runs over the software driver, which ends the process
-- with 86 when anything is left in it. more: further variables.
local softcuda = assert(os.getenv("GB_TEST_SOFTCUDA"))

return function(more)
  return ("GB_CUDA_LIBRARY=%s GB_NVRTC_LIBRARY=%s GB_NVML_LIBRARY=%s GB_SOFTCUDA_LEAKS=1 "
    .. "GB_LOG_LEVEL=error %s"):format(softcuda, softcuda, softcuda, more)
end
