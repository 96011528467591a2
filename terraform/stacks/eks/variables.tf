variable "region" {
  type        = string
  description = "Region of everything."
}

variable "name" {
  type        = string
  default     = "perch"
  description = "Name of the cluster, and the beginning of its roles' names."
}

variable "subnet_ids" {
  type        = list(string)
  description = "Private subnets in at least two zones, with a way out to the image registries."

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "EKS needs subnets in at least two zones."
  }
}

variable "admin_arns" {
  type        = list(string)
  description = "Roles that administer the cluster. Whoever applies this must be among them."

  validation {
    condition     = length(var.admin_arns) > 0
    error_message = "Nobody could administer the cluster: name the role that applies this."
  }
}

variable "api_cidrs" {
  type        = list(string)
  default     = []
  description = "Networks that reach the API server from outside; with none, only the VPC does."

  validation {
    condition     = !contains(var.api_cidrs, "0.0.0.0/0")
    error_message = "That is the whole internet. Name your own networks."
  }
}

variable "instance_types" {
  type        = list(string)
  default     = ["m7i.large"]
  description = "Kinds of nodes."
}

variable "nodes" {
  type        = number
  default     = 2
  description = "How many nodes; one more may come while they are renewed."
}

variable "image_registry" {
  type        = string
  description = "Where Perch's images were pushed, such as ACCOUNT.dkr.ecr.REGION.amazonaws.com/perch."
}

variable "perch_values" {
  type        = any
  default     = {}
  description = "Values of charts/perch."
}

variable "tags" {
  type        = map(string)
  default     = { project = "perch" }
  description = "Tags of everything, for the bill."
}
