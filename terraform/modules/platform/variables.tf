variable "flavour" {
  type        = string
  description = "Who made the cluster: kind or cloud. It chooses among the files of deploy/values."

  validation {
    condition     = contains(["kind", "cloud"], var.flavour)
    error_message = "The flavour is kind or cloud."
  }
}

variable "namespace" {
  type        = string
  default     = "perch"
  description = "Namespace of Perch itself; services stand in namespaces of their own."
}

variable "image_registry" {
  type        = string
  default     = ""
  description = "Prefix of Perch's images, such as ghcr.io/you; empty for images that are on the nodes already."
}

variable "perch_values" {
  type        = any
  default     = {}
  description = "Values of charts/perch; its values.schema.json refuses what it does not know."
}
