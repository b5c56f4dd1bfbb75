#include "serving/types.h"

#include "serving/plan.h"

namespace tweendeck::serving {

std::string_view to_string(ReplicaPhase phase) {
  switch (phase) {
    case ReplicaPhase::Pending:
      return "pending";
    case ReplicaPhase::Starting:
      return "starting";
    case ReplicaPhase::Ready:
      return "ready";
    case ReplicaPhase::Unhealthy:
      return "unhealthy";
    case ReplicaPhase::Draining:
      return "draining";
    case ReplicaPhase::Backoff:
      return "backoff";
    case ReplicaPhase::Stopped:
      return "stopped";
  }
  return "unknown";
}

std::string_view to_string(ActionKind kind) {
  switch (kind) {
    case ActionKind::Create:
      return "Create";
    case ActionKind::AcquireSlice:
      return "AcquireSlice";
    case ActionKind::Launch:
      return "Launch";
    case ActionKind::MarkReady:
      return "MarkReady";
    case ActionKind::MarkUnhealthy:
      return "MarkUnhealthy";
    case ActionKind::RecordExit:
      return "RecordExit";
    case ActionKind::ClearFailures:
      return "ClearFailures";
    case ActionKind::Drain:
      return "Drain";
    case ActionKind::Stop:
      return "Stop";
    case ActionKind::Kill:
      return "Kill";
    case ActionKind::ReleaseSlice:
      return "ReleaseSlice";
    case ActionKind::Adopt:
      return "Adopt";
    case ActionKind::Renew:
      return "Renew";
    case ActionKind::Forget:
      return "Forget";
    case ActionKind::ForgetDeployment:
      return "ForgetDeployment";
  }
  return "unknown";
}

}  // namespace tweendeck::serving
