// Arrays and mipmapped arrays, as a client sees them.
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/testing.h"

namespace {

using tweendeck::softgpu::testing::Cards;

constexpr unsigned kFloat = 0x20;
constexpr unsigned kUint8 = 0x01;

class Array : public tweendeck::softgpu::testing::DriverTest {
 protected:
  void SetUp() override {
    DriverTest::SetUp();
    before = free_bytes();
  }
  void TearDown() override {
    EXPECT_EQ(free_bytes(), before);
    DriverTest::TearDown();
  }
  size_t taken() { return before - free_bytes(); }
  size_t before = 0;
};

TEST_F(Array, IsChargedRefusedAndReturned) {
  CUarray array = nullptr;
  CUDA_ARRAY_DESCRIPTOR shape{100, 10, kFloat, 4};
  OK(CALL(cuArrayCreate_v2)(&array, &shape));
  EXPECT_EQ(taken(), 16'384u);  // 16,000 bytes
  CUDA_ARRAY3D_DESCRIPTOR read{};
  OK(CALL(cuArray3DGetDescriptor_v2)(&read, array));
  EXPECT_EQ(read.width, 100u);
  EXPECT_EQ(read.depth, 0u);
  OK(CALL(cuArrayDestroy)(array));
  EXPECT_EQ(CALL(cuArrayDestroy)(array), CUDA_ERROR_INVALID_HANDLE);
  shape.channels = 3;
  EXPECT_EQ(CALL(cuArrayCreate_v2)(&array, &shape), CUDA_ERROR_INVALID_VALUE);
  CUDA_ARRAY3D_DESCRIPTOR large{100'000, 100'000, 10, kFloat, 1, 0};
  EXPECT_EQ(CALL(cuArray3DCreate_v2)(&array, &large), CUDA_ERROR_OUT_OF_MEMORY);
}

TEST_F(Array, CopiesReachItByCoordinates) {
  CUarray array = nullptr;
  const CUDA_ARRAY3D_DESCRIPTOR shape{8, 4, 2, kUint8, 1, 0};
  OK(CALL(cuArray3DCreate_v2)(&array, &shape));
  std::vector<unsigned char> bytes(64);
  std::iota(bytes.begin(), bytes.end(), 0);
  CUDA_MEMCPY3D copy{};
  copy.src_type = kMemoryHost;
  copy.src_host = bytes.data();
  copy.src_pitch = 8;
  copy.src_height = 4;
  copy.dst_type = kMemoryArray;
  copy.dst_array = array;
  copy.width = 8;
  copy.height = 4;
  copy.depth = 2;
  OK(CALL(cuMemcpy3D_v2)(&copy));
  unsigned char corner[4] = {};
  CUDA_MEMCPY3D back{};
  back.src_type = kMemoryArray;
  back.src_array = array;
  back.src_x = 6;
  back.src_y = 2;
  back.src_z = 1;
  back.dst_type = kMemoryHost;
  back.dst_host = corner;
  back.dst_pitch = 2;
  back.width = 2;
  back.height = 2;
  back.depth = 1;
  OK(CALL(cuMemcpy3D_v2)(&back));
  EXPECT_EQ(corner[0], 32 + 16 + 6);
  EXPECT_EQ(corner[3], 32 + 24 + 7);
  back.width = 3;
  EXPECT_EQ(CALL(cuMemcpy3D_v2)(&back), CUDA_ERROR_INVALID_VALUE);
  OK(CALL(cuMemcpyAtoH_v2)(corner, array, 3, 4));
  EXPECT_EQ(corner[0], 3);
  EXPECT_EQ(CALL(cuMemcpyAtoH_v2)(corner, array, 5, 4), CUDA_ERROR_INVALID_VALUE);
  OK(CALL(cuArrayDestroy)(array));
  EXPECT_EQ(CALL(cuMemcpy3D_v2)(&back), CUDA_ERROR_INVALID_HANDLE);
}

TEST_F(Array, AMipmapIsOneAllocationOfHalvingLevels) {
  CUmipmappedArray mipmap = nullptr;
  CUarray level = nullptr;
  const CUDA_ARRAY3D_DESCRIPTOR shape{64, 32, 0, kFloat, 1, 0};
  OK(CALL(cuMipmappedArrayCreate)(&mipmap, &shape, 3));
  EXPECT_EQ(taken(), 8192u + 2048 + 512);
  OK(CALL(cuMipmappedArrayGetLevel)(&level, mipmap, 2));
  CUDA_ARRAY_DESCRIPTOR read{};
  OK(CALL(cuArrayGetDescriptor_v2)(&read, level));
  EXPECT_EQ(read.width, 16u);
  EXPECT_EQ(read.height, 8u);
  EXPECT_EQ(CALL(cuArrayDestroy)(level), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_EQ(CALL(cuMipmappedArrayGetLevel)(&level, mipmap, 3), CUDA_ERROR_INVALID_VALUE);
  OK(CALL(cuMipmappedArrayDestroy)(mipmap));
  EXPECT_EQ(CALL(cuArrayGetDescriptor_v2)(&read, level), CUDA_ERROR_INVALID_HANDLE);
}

TEST_F(Array, GoesWithItsContext) {
  CUcontext extra = nullptr;
  CUarray array = nullptr;
  const CUDA_ARRAY_DESCRIPTOR shape{100, 10, kFloat, 4};
  OK(CALL(cuCtxCreate_v2)(&extra, 0, 0));
  OK(CALL(cuArrayCreate_v2)(&array, &shape));
  OK(CALL(cuCtxDestroy_v2)(extra));
  EXPECT_EQ(CALL(cuArrayDestroy)(array), CUDA_ERROR_INVALID_HANDLE);
}

}  // namespace
