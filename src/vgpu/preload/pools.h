// Stream-ordered memory: a pool is charged what it holds of the device, not what the program has taken from
// it. Safe from any thread, inside a slice only.
#pragma once

namespace tweendeck::vgpu {

// Gives back what pools of the device hold and nobody uses. True when that was anything.
bool trim_pools(int device);
// Work of the device has come to an end: pools may have given memory back.
void settle_pools();
// The program has freed memory that may be a pool's.
void pool_memory_freed();
// After fork: the parent's pools are not the child's.
void forget_pools();

}  // namespace tweendeck::vgpu
