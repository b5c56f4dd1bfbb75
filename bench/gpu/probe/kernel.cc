// The kernel as text for machines without nvcc; kernels.cu is the same in CUDA C++. kernels.cu says why it is
// so.
#include "driver.h"

namespace probe {

const char* kernel_text() {
  return R"(
.version 6.3
.target sm_75
.address_size 64
.visible .entry tw_spin(.param .u64 duration_ns, .param .u64 log, .param .u64 room) {
  .reg .u64 %length, %log, %room, %first, %last, %now, %step, %own, %most, %slot, %at;
  .reg .u32 %thread, %block, %index;
  .reg .pred %p;
  ld.param.u64 %length, [duration_ns];
  ld.param.u64 %log, [log];
  ld.param.u64 %room, [room];
  mov.u64 %first, %globaltimer;
  mov.u64 %last, %first;
  mov.u64 %own, 0;
  mad.lo.u64 %most, %length, 64, 100000000;
  add.u64 %most, %most, %first;
spin:
  setp.ge.u64 %p, %own, %length;
  @%p bra done;
  setp.ge.u64 %p, %last, %most;
  @%p bra done;
  mov.u64 %now, %globaltimer;
  sub.u64 %step, %now, %last;
  mov.u64 %last, %now;
  setp.gt.u64 %p, %step, 50000;
  @%p bra spin;
  add.u64 %own, %own, %step;
  bra spin;
done:
  mov.u32 %thread, %tid.x;
  mov.u32 %block, %ctaid.x;
  or.b32 %index, %thread, %block;
  setp.ne.u32 %p, %index, 0;
  @%p bra end;
  setp.eq.u64 %p, %log, 0;
  @%p bra end;
  cvta.to.global.u64 %log, %log;
  atom.global.add.u64 %slot, [%log], 1;
  setp.ge.u64 %p, %slot, %room;
  @%p bra end;
  mad.lo.u64 %at, %slot, 24, %log;
  st.global.u64 [%at+8], %first;
  st.global.u64 [%at+16], %last;
  st.global.u64 [%at+24], %own;
end:
  ret;
}
)";
}

}  // namespace probe
