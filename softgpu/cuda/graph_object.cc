// User objects: a caller's resource that graphs keep alive, with a destructor of the caller's.
#include "softgpu/cuda/api.h"
#include "softgpu/cuda/driver.h"
#include "softgpu/cuda/graph.h"

namespace tweendeck::softgpu {

// Guarded by Graphs::mutex.
struct UserObject {
  void* pointer;
  CUhostFn destroy;
  unsigned references;
};

namespace {

std::unordered_map<const void*, std::unique_ptr<UserObject>>& user_objects() {
  static auto* objects = new std::unordered_map<const void*, std::unique_ptr<UserObject>>;
  return *objects;
}

UserObject* find(CUuserObject handle) {
  const auto found = user_objects().find(handle);
  return found == user_objects().end() ? nullptr : found->second.get();
}

// The API calls the destructor from a thread of its own; it must not call the API, so any thread will do.
void drop(UserObject& object, unsigned count) {
  object.references -= std::min(object.references, count);
  if (object.references > 0) return;
  object.destroy(object.pointer);
  user_objects().erase(&object);
}

}  // namespace

void release_user_objects(Graph& graph) {
  for (const auto& [object, count] : graph.user_objects) drop(*object, count);
  graph.user_objects.clear();
}

void share_user_objects(const Graph& from, Graph& to) {
  for (const auto& [object, count] : from.user_objects) {
    object->references += count;
    to.user_objects[object] += count;
  }
}

}  // namespace tweendeck::softgpu

using namespace tweendeck::softgpu;

CUresult cuUserObjectCreate(CUuserObject* out, void* pointer, CUhostFn destroy, unsigned references,
                            unsigned flags) {
  TW_DRIVER(driver);
  constexpr unsigned kNoDestructorSync = 1;  // the only flag, and it must be given
  if (out == nullptr || destroy == nullptr || references == 0 || flags != kNoDestructorSync) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  std::lock_guard guard(Graphs::get().mutex);
  auto object = std::make_unique<UserObject>(UserObject{pointer, destroy, references});
  *out = reinterpret_cast<CUuserObject>(object.get());
  user_objects().emplace(object.get(), std::move(object));
  return CUDA_SUCCESS;
}

CUresult cuUserObjectRetain(CUuserObject handle, unsigned count) {
  std::lock_guard guard(Graphs::get().mutex);
  UserObject* object = find(handle);
  if (object == nullptr || count == 0) return CUDA_ERROR_INVALID_VALUE;
  object->references += count;
  return CUDA_SUCCESS;
}

CUresult cuUserObjectRelease(CUuserObject handle, unsigned count) {
  std::lock_guard guard(Graphs::get().mutex);
  UserObject* object = find(handle);
  if (object == nullptr || count == 0) return CUDA_ERROR_INVALID_VALUE;
  drop(*object, count);
  return CUDA_SUCCESS;
}

CUresult cuGraphRetainUserObject(CUgraph graph_handle, CUuserObject handle, unsigned count, unsigned flags) {
  constexpr unsigned kMove = 1;
  std::lock_guard guard(Graphs::get().mutex);
  Graph* graph = Graphs::get().find(graph_handle);
  UserObject* object = find(handle);
  if (graph == nullptr || object == nullptr || count == 0 || flags > kMove) return CUDA_ERROR_INVALID_VALUE;
  if (flags != kMove) object->references += count;
  graph->user_objects[object] += count;
  return CUDA_SUCCESS;
}

CUresult cuGraphReleaseUserObject(CUgraph graph_handle, CUuserObject handle, unsigned count) {
  std::lock_guard guard(Graphs::get().mutex);
  Graph* graph = Graphs::get().find(graph_handle);
  UserObject* object = find(handle);
  if (graph == nullptr || object == nullptr || count == 0) return CUDA_ERROR_INVALID_VALUE;
  const auto held = graph->user_objects.find(object);
  if (held == graph->user_objects.end() || held->second < count) return CUDA_ERROR_INVALID_VALUE;
  held->second -= count;
  if (held->second == 0) graph->user_objects.erase(held);
  drop(*object, count);
  return CUDA_SUCCESS;
}
