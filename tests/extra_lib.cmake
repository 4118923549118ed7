# docs/kernels.md: every Lua block of it compiles.
if(TARGET gbrun)
  gb_docs_test(docs.kernels blocks.lua docs/kernels.md)
endif()
